"""What the server answers, as OpenAPI describes it; each model with one example. Nothing is validated by them at run
time: the tests hold the real answers against them."""
