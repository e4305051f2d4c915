"""Check data sets for unreadable files, wrong sizes, doubtful polarity and duplicates."""
