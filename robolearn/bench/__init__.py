"""A bench: one robot behind the gate, its cameras, its file, its pace."""
