// Shows the contract of this very service; asks nobody else, not even a validator.
SwaggerUIBundle({ url: "/openapi.yaml", dom_id: "#api", validatorUrl: null, deepLinking: true });
