// Starts GraphiQL in the view of this page: queries over HTTP, subscriptions over graphql-transport-ws.
// The sandbox signs in its demo account of the view; elsewhere paste {"authorization": "Bearer …"} under Headers.

"use strict";

const view = document.body.dataset.view;

const HELLO = `# The contract of the view "${view}".
# Ctrl+Enter runs the operation at the cursor.

{
  clock { now speed }
  viewer { kind }
}
`;

async function start() {
  const response = await fetch("/sandbox/tokens").catch(() => null);
  const tokens = response?.ok ? await response.json() : {};
  const signedIn = tokens[view] ? { authorization: `Bearer ${tokens[view]}` } : {};
  const fetcher = GraphiQL.createFetcher({
    url: "/graphql",
    subscriptionUrl: `${location.origin.replace(/^http/, "ws")}/graphql`,
    headers: signedIn,
    wsConnectionParams: signedIn,
  });
  const storage = GraphiQL.createLocalStorage({ namespace: `hutong-${view}` });
  const page = React.createElement(GraphiQL, { fetcher, storage, defaultQuery: HELLO, shouldPersistHeaders: false });
  ReactDOM.createRoot(document.getElementById("graphiql")).render(page);
}

start();
