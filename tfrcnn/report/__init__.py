"""Reports: one HTML file each, with its pictures, its style and its script inside.

`page` and `pictures` are the frame of every report. `data` and the files next to it fill one on a data set.
"""
