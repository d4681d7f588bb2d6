"""The command line: commands that parse, call the library and print. Nothing imports it."""
