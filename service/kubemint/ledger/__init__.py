"""The record: entries that are only ever added, and tables to find them by.

`writer` adds, and what it adds in one transaction is a `batch`, judged by `conditions`; `rows` says what
an entry means to the tables. `reader` finds. `sqlite` knows the one database of today, `migrations` builds
the tables.
"""
