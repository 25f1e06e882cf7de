"""What other packages add: methods, data sets and extractors, each found through an entry-point group.

points  the entry points of a group, and how one of them is loaded
"""
