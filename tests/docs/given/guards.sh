printf 'guards:\n  brands: {kind: keywords, lists: {competitor: [Globex, Initech Corp]}}\ncategories: [competitor]\n' > guards.yaml
