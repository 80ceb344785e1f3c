/* A card in the launcher for every runbook. Written by hand as a module-federation container, so that nothing has to
   be built: JupyterLab hands over its own packages. The version stands in the file's name, since browsers keep it. */
(() => {
  let scope;
  const shared = async (name) => {
    const versions = scope[name];
    return (await versions[Object.keys(versions)[0]].get())();
  };

  async function activate(app, launcher, palette, browser, LabIcon) {
    const svg =
      '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b5cad"/>' +
      '<path d="M9 8h10a4 4 0 0 1 4 4v12H13a4 4 0 0 1-4-4z" fill="#fff"/>' +
      '<path d="M12 17h3l1.5-4 2 7 1.5-3h1" fill="none" stroke="#0b5cad" stroke-width="1.8"/></svg>';
    const icon = new LabIcon({ name: "runbook:book", svgstr: svg });
    const kernelIconUrl = `data:image/svg+xml,${encodeURIComponent(svg)}`;
    const contents = app.serviceManager.contents;
    const folders = async (path) => (await contents.get(path)).content.filter((item) => item.type === "directory");
    const days = (await folders("")).map((item) => item.path).sort();
    if (days.length === 0) return;
    await app.restored;
    for (const platform of await folders(days[days.length - 1])) {
      for (const item of (await contents.get(platform.path)).content) {
        if (item.type !== "notebook") continue;
        const command = `runbook:open:${item.path}`;
        app.commands.addCommand(command, {
          label: `${item.name.replace(/\.ipynb$/, "")} (${platform.name})`,
          caption: `Open the runbook ${item.path}`,
          icon,
          execute: () => app.commands.execute("docmanager:open", { path: item.path, factory: "Notebook" }),
        });
        launcher?.add({ command, category: "Notebook", rank: -1, kernelIconUrl }); // the first section that one sees
        palette?.addItem({ command, category: "Runbooks" });
      }
    }
    await app.commands.execute("filebrowser:go-to-path", { path: days[days.length - 1], dontShowBrowser: false });
  }

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["runbook-lab"] = {
    init(given) {
      scope = given;
    },
    async get() {
      const { ILauncher } = await shared("@jupyterlab/launcher");
      const { ICommandPalette } = await shared("@jupyterlab/apputils");
      const { IDefaultFileBrowser } = await shared("@jupyterlab/filebrowser");
      const { LabIcon } = await shared("@jupyterlab/ui-components");
      const plugin = {
        id: "runbook-lab:plugin",
        description: "The runbooks in the launcher.",
        autoStart: true,
        optional: [ILauncher, ICommandPalette, IDefaultFileBrowser],
        activate: (app, launcher, palette, browser) => {
          activate(app, launcher, palette, browser, LabIcon).catch((error) => console.error("runbook-lab", error));
        },
      };
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
