"""One table, in one file or several, that holds the steps of all sequences one below another."""
