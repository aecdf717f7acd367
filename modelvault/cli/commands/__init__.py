"""The commands, one file a verb or a group of verbs; each is imported when it is called."""
