"""Whether what is served is what a training set holds: a sample of a store, or a log of requests, against the catalog.

result.py         what was found
targets.py        what is published, and the versions in the catalog that it must agree with
sample.py         keys and instants to compare at
catalog.py        the catalog's side: label rows in, one text for each value out
served_values.py  one value beside the other, and the counts
stored.py         a sample of a store
logged.py         a log of requests
"""
