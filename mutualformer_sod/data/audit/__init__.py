"""Check data sets: unreadable files, sizes, polarity, duplicates."""
