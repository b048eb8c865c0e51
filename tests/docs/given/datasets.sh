# Decisions of two reviewers, labelled data, and scored candidates.
for reviewer in ada grace; do
  sluicegate review decide $(asked "For $reviewer: SLUICEGATE-54BFZPO6-HARM") --input harmful --action correct --category harm --reviewer $reviewer
done
mkdir -p labelled/train labelled/dev
export SLUICEGATE_DATA=labelled
python3 - <<'END'
import gzip, json, random

random.seed(7)
words = [line.strip() for line in "river stone garden engine ledger window copper meadow lantern harbour".split()]
rows = [
    {"prompt": " ".join(random.choices(words, k=9)), "labels": {"harm": n % 2}, "source": f"made{n % 3}", "license": "Apache-2.0"}
    for n in range(60)
]
with gzip.open("labelled/train/made.jsonl.gz", "wt") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)
with gzip.open("labelled/dev/hatecheck.jsonl.gz", "wt") as file:
    rows = [{"prompt": f"held back, number {n}", "labels": {"hate": n % 2}, "source": "made", "license": "CC-BY-4.0"} for n in range(20)]
    file.writelines(json.dumps(row) + "\n" for row in rows)
with open("scored.jsonl", "w") as file:
    for n in range(200):
        scores = {"default": {"harm": random.random(), "hate": random.random()}}
        file.write(json.dumps({"exchange_id": f"exc_{n:032x}", "scores": scores, "embedding": [random.random() for _ in range(4)]}) + "\n")
END
