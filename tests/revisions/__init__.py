"""Data folders of earlier revisions, made by the code of their time."""
