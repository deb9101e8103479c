"""Pictures shown in a browser: served on this machine alone, or written as a site that any web server can serve."""
