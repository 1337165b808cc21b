"""One library a file, behind one face."""
