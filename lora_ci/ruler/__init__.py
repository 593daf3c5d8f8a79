"""All that measures pictures: prompts, seeds, embedders, intervals. Its hash is the ruler's id."""
