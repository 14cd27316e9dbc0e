// SPDX-License-Identifier: Apache-2.0
// The page at /docs: Swagger UI over every document of /openapi. What is tried out goes to this
// server; the token that is typed in stays in the page's memory and is gone with it.
'use strict';

function failed(what) {
  const p = document.getElementById('failed');
  p.textContent = `The list of documents at /openapi could not be read: ${what}`;
  p.hidden = false;
}

// SwaggerUIBundle looks into the query for settings only where it is told to; an address must not be
// able to put another server's document into this page.
function show(documents) {
  window.ui = window.SwaggerUIBundle({
    urls: documents.map((d) => ({ name: d.title, url: d.url })),
    dom_id: '#swagger-ui',
    presets: [window.SwaggerUIBundle.presets.apis, window.SwaggerUIStandalonePreset],
    layout: 'StandaloneLayout',
    deepLinking: true,
    displayRequestDuration: true,
    docExpansion: 'list',
    persistAuthorization: false,
    queryConfigEnabled: false,
    validatorUrl: null,
  });
}

fetch('/openapi')
  .then((r) => (r.ok ? r.json() : Promise.reject(new Error(`status ${r.status}`))))
  .then((list) => show(list.documents))
  .catch((e) => failed(e.message));
