"""What other packages add: methods, data sets, extractors and schedulers, each found through an entry-point group.

points  the entry points of a group, and how one of them is loaded
looks   how the pages of a report show a method: with which colour, with which marker, and where in lists of methods
"""
