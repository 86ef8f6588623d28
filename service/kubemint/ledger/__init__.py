"""The record: entries that are only ever added, and tables to find them by.

`writer` adds, `reader` finds, `sqlite` knows the one database of today, `migrations` builds the tables.
"""
