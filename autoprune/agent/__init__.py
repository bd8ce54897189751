"""The agent: a device's measuring offered over HTTP. Knows leases and requests; measuring is the worker's.

settings    what an agent allows
messages    what may be sent to it, and nothing else
artifacts   files by their SHA-256, up to a size
leases      who may measure: one process each, one job at a time
guard       who gets in, how large and how slow a request may be
app, serve  routes and server
"""
