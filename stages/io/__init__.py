"""Bytes on disk: tables, images, videos, weights, JSON."""
