"""Tasks that ship with the product; the file's name is the task's name, its `task(reporter)` makes it."""
