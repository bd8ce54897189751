"""Models and requests as bytes: the process that measures, on this machine or on another one."""
