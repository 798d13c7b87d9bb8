"""params.yaml: its schema, its presets, and the wording of its problems."""
