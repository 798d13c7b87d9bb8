"""Where the work on single videos runs."""
