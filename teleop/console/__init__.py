"""The two-operator console: one server, two pages, one clock."""
