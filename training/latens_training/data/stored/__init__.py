"""Pictures that stay on disk and are read as training needs them."""
