"""`graphspec serve`: trained runs behind HTTP.

The server is Starlette on uvicorn. What the columns are, only the run says: FastAPI, which is Starlette with
types that are known before it starts, would have nothing to do, and refuses a whole request for one bad row.
"""
