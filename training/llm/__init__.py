"""What the verbs that train the LLM share: recipe, dialogues, model, cost, run."""
