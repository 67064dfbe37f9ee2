"""Datasets as a whole: from one format to another, and a look at what is wrong with one."""
