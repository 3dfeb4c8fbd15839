"""The commands, a module a group: each parses, calls the library and prints."""
