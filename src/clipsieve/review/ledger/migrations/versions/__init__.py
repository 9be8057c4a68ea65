"""One step for each version of the schema, in order; a step that was released is never changed."""
