"""Where models come from: the Hub, or a folder."""
