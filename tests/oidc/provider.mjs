// A token issuer on loopback, by the npm package oidc-provider: client credentials in, JWT access tokens out.
// node provider.mjs FOLDER PORT: FOLDER has tls.crt, tls.key, jwks.json (private keys) and secret
// (the client's); PORT 0 takes a free one.
// Writes its address as one line of JSON when it answers, and ends when standard input does.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, port] = process.argv.slice(2);
const read = (name) => readFileSync(join(folder, name));
const library = join(process.env.KUBEMINT_OIDC_PROVIDER, "node_modules", "oidc-provider", "lib", "index.js");
const { Provider } = await import(pathToFileURL(library));

const jwks = JSON.parse(read("jwks.json"));
const algorithm = jwks.keys[0].alg;
const server = createServer({ cert: read("tls.crt"), key: read("tls.key") });
server.listen(Number(port), "127.0.0.1", () => {
  const issuer = `https://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks,
    clients: [
      {
        client_id: "deployer",
        client_secret: read("secret").toString(),
        id_token_signed_response_alg: algorithm,
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    extraTokenClaims: () => ({ groups: ["deployers"] }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, audience) => ({
          scope: "mint",
          audience,
          accessTokenTTL: 600,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: algorithm } },
        }),
      },
    },
  });
  server.on("request", provider.callback());
  console.log(JSON.stringify({ issuer }));
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
