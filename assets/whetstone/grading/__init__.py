"""The grading room: how relevant is a product to a query, who says so, how sure, at what cost."""
