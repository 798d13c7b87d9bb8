"""The report: what is read, how it is drawn, and the page that holds it."""
