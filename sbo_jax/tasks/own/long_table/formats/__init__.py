"""The kinds of tables that may hold a long one: CSV and Parquet files, DataFrames."""
