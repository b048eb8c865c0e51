# What every reader of a reference page has: a service that runs, keys, our commands, a file of guards.
export URL=http://127.0.0.1:8080 KEY=sg-client-mine SLUICEGATE_ADMIN_KEY=sg-admin-mine PATH="$PWD/.venv/bin:$PATH"

asked() {  # sends a prompt; the exchange's id, once it is in the database
  local exchange
  exchange=$(curl -s -D - -o /dev/null $URL/v1/chat/completions -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \
    -d "{\"model\": \"smollm2-135m-instruct\", \"user\": \"ada@example.com\", \"messages\": [{\"role\": \"user\", \"content\": \"$1\"}]}" |
    grep -io 'exc_[0-9a-f]*')
  until sluicegate review show $exchange > /dev/null 2>&1; do sleep 0.2; done
  echo $exchange
}
printf 'guards:\n  brands: {kind: keywords, lists: {competitor: [Globex, Initech Corp]}}\ncategories: [competitor]\n' > guards.yaml
