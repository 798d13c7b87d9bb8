"""Files: tables, videos, weights."""
