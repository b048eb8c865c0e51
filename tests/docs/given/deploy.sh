# The engine is elsewhere, where anything answers.
export SLUICEGATE_ENGINE_URL=$URL SLUICEGATE_ENGINE_KEY=$KEY
