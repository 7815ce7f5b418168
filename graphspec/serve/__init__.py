"""`graphspec serve`: trained runs over HTTP.

The server is uvicorn; its few paths need no framework above it. What the columns are, only the run says:
FastAPI, with types that are known before it starts, would refuse a whole request for one bad row.
"""
