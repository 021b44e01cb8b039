"""Questions to a traced step: where the path from a variable to the loss is cut."""
