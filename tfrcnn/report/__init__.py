"""Reports: one HTML file each, with its pictures, its style and its script inside.

`page` and `pictures` are the frame of every report. `data` and the files beside it fill one on a data set.
"""
