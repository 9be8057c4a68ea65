"""The datasheet's answer, in Markdown, as a section of a data set card, and as Croissant."""
