cp guards/policies/default.yaml my-policy.yaml
