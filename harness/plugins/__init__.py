"""What other packages add: methods, data sets, extractors and schedulers, each found through an entry-point group.

points  the entry points of a group, and how one of them is loaded
looks   how methods are shown on pages
"""
