"""The methods, in pure torch and NumPy: no files, no parameters file, no knowledge of the stages."""
