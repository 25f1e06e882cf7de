"""What other packages add: methods, data sets, extractors and schedulers, each found through an entry-point group.

points  the entry points of a group, and how one of them is loaded
looks   how a report's pages show a method: its colour, its mark, its place in lists
"""
