echo '{"prompt": "What is the capital of France?", "response": "Paris."}' > F.jsonl
