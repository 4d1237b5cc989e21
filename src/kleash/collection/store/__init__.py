"""All SQL of the labelling service: tables, transactions, and plain functions over a connection.

`Database.write()` and `Database.read()` give a connection inside a transaction; the functions in these modules take
it as their first argument, so that several of them make one atomic step. Nothing outside this folder writes SQL.
"""
